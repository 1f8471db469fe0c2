"""Networks that only look: their weights come from a file, and stay there."""

import logging
import os
from collections.abc import Callable, Sequence

from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn


class FrozenNetwork(nn.Module):
    """Holds a network that follows the model from device to device and is no part of it otherwise.

    It is in eval mode for ever, in no checkpoint, no optimizer and no gradient exchange; a resumed run reads its file
    again. The file has to fit to the last tensor, and when the network is built: a tokenizer with a few random layers
    gives targets too, only meaningless ones.

    Args:
        owner: who needs it, for messages.
        checkpoint: the file, or None: then it is an error to use the network, unless ``allow_random``.
        prefixes: under which its names may stand in the file; the first that does counts.
    """

    def __init__(
        self,
        network: nn.Module,
        owner: str,
        checkpoint: str | os.PathLike | None,
        allow_random: bool = False,
        prefixes: Sequence[str] = ('',),
    ) -> None:
        super().__init__()
        if hasattr(network, 'init_weights'):
            network.init_weights()
        if checkpoint is not None:
            _load(network, owner, checkpoint, prefixes)
        elif allow_random:
            print_log(f'{owner}: {type(network).__name__} has random weights, as asked for', 'current', logging.WARNING)
        self._owner = owner
        self._usable = checkpoint is not None or allow_random
        # Not by attribute, which would make it a submodule.
        self.__dict__['_network'] = network.requires_grad_(False).eval()

    @property
    def network(self) -> nn.Module:
        """Raises ValueError if it has no weights to be used with."""
        if not self._usable:
            raise ValueError(
                f'{self._owner}: {type(self._network).__name__} has no weights; name their file in '
                f'model.target.checkpoint{_origin(self._network)}'
            )
        return self._network

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> 'FrozenNetwork':
        self._network._apply(fn)
        return super()._apply(fn, recurse)


def _origin(network: nn.Module) -> str:
    return f': {network.origin}' if hasattr(network, 'origin') else ''


def _load(network: nn.Module, owner: str, checkpoint: str | os.PathLike, prefixes: Sequence[str]) -> None:
    path = os.path.expanduser(os.fspath(checkpoint))
    kind = type(network).__name__
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f'{owner}: there is no file {path} with the weights of {kind}{_origin(network)}. Put it there, or set '
            f'model.target.checkpoint to where it is; to None to do without, for whatever needs the encoder alone'
        )
    content = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    for key in ('state_dict', 'model'):
        content = content[key] if isinstance(content.get(key), dict) else content
    state = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    prefix = next((each for each in prefixes if any(key.startswith(each) for key in state)), '')
    ignored = tuple(getattr(network, 'not_needed', ())) or ('\0',)
    state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    state = {key: value for key, value in state.items() if not key.startswith(ignored)}
    try:
        missing, surplus = network.load_state_dict(state, strict=False)
        differing = []
    except RuntimeError as error:  # shapes
        missing, surplus = [], []
        differing = [line.strip() for line in str(error).splitlines() if 'size mismatch' in line] or [str(error)]
    for names, what in ((missing, 'lacks'), (surplus, 'has, and the network has not,'), (differing, 'has a')):
        if names:
            more = f', and {len(names) - 1} more' if len(names) > 1 else ''
            raise ValueError(f'{owner}: {path} does not fit {kind}: it {what} {names[0]}{more}{_origin(network)}')
