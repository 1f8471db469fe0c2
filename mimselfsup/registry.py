"""The registries of this project.

Each is a child of MMEngine's root registry, beside mmpretrain's, mmdet's and mmseg's, so that a type
of this project resolves from each of their scopes as ``mimselfsup.X`` and theirs from here as
``mmpretrain.X``. (A child of mmpretrain's registry would be reachable from its own scope alone.)

``MASKINGS`` exists only here: what to hide. A strategy is built as
``MASKINGS.build(dict(type='RandomMasking', mask_ratio=0.75))``.
"""

from mmengine import registry as root
from mmengine.registry import Registry

_SCOPE = 'mimselfsup'


def _child(name: str, parent: Registry, *locations: str) -> Registry:
    return Registry(name, parent=parent, scope=_SCOPE, locations=[f'mimselfsup.{location}' for location in locations])


MODELS = _child('model', root.MODELS, 'models', 'transfer.models')
DATASETS = _child('dataset', root.DATASETS, 'datasets')
DATA_SAMPLERS = _child('data sampler', root.DATA_SAMPLERS, 'datasets')
TRANSFORMS = _child('transform', root.TRANSFORMS, 'datasets')
HOOKS = _child('hook', root.HOOKS, 'engine', 'transfer.hooks')
RUNNERS = _child('runner', root.RUNNERS, 'engine')
OPTIM_WRAPPERS = _child('optimizer wrapper', root.OPTIM_WRAPPERS, 'engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child('optimizer wrapper constructor', root.OPTIM_WRAPPER_CONSTRUCTORS, 'engine')
METRICS = _child('metric', root.METRICS, 'evaluation')
VISUALIZERS = _child('visualizer', root.VISUALIZERS, 'visualization')
# Nothing of our own is in these yet; without them MMEngine warns that it cannot search this scope.
OPTIMIZERS = _child('optimizer', root.OPTIMIZERS, 'engine')
PARAM_SCHEDULERS = _child('parameter scheduler', root.PARAM_SCHEDULERS, 'engine')
LOOPS = _child('loop', root.LOOPS, 'engine')
LOG_PROCESSORS = _child('log processor', root.LOG_PROCESSORS, 'engine')
MODEL_WRAPPERS = _child('model wrapper', root.MODEL_WRAPPERS, 'models')
EVALUATOR = _child('evaluator', root.EVALUATOR, 'evaluation')
VISBACKENDS = _child('visualizer backend', root.VISBACKENDS, 'visualization')
FUNCTIONS = _child('function', root.FUNCTIONS, 'datasets')
MASKINGS = Registry('masking', scope=_SCOPE, locations=['mimselfsup.models.maskings'])
