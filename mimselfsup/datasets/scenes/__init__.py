"""The toy world: labelled scenes, composed of objects on backgrounds, in the layouts of real data sets."""

from .backgrounds import DrawnBackgrounds
from .compose import Scene, compose_scene
from .cutouts import CutoutObjects, PhotoBackgrounds
from .layouts import DEFAULT_LAYOUTS, LAYOUTS, ObjectRecord, SceneRecord, World
from .sets import SETS, Source
from .shapes import SHAPES, TEXTURES, DrawnObjects
from .write import write_scenes

__all__ = [
    'DEFAULT_LAYOUTS',
    'LAYOUTS',
    'SETS',
    'SHAPES',
    'TEXTURES',
    'CutoutObjects',
    'DrawnBackgrounds',
    'DrawnObjects',
    'ObjectRecord',
    'PhotoBackgrounds',
    'Scene',
    'SceneRecord',
    'Source',
    'World',
    'compose_scene',
    'write_scenes',
]
