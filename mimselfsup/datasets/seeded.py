"""Any data set, with its augmentations a pure function of which sample is asked for."""

from typing import Any

from mimselfsup.registry import DATASETS

from .transforms.seed import seed_generators


@DATASETS.register_module()
class SeededDataset:
    """``dataset`` (a config), which seeds the generators before each sample as :class:`SeedSample` does.

    For data sets whose own index says nothing of the epoch, because they join or repeat others. Everything else is that
    of ``dataset``.
    """

    def __init__(self, dataset: dict) -> None:
        self.dataset = DATASETS.build(dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        seed_generators(index)
        return self.dataset[index]

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset':  # while it is unpickled, in a worker
            raise AttributeError(name)
        return getattr(self.dataset, name)
