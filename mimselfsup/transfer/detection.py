"""What detection needs beside mmdet. For ``custom_imports``: importing mmdet takes seconds."""

from mmdet.datasets import CocoDataset
from mmengine.fileio import get_local_path

from mimselfsup.registry import DATASETS


@DATASETS.register_module()
class CocoFileDataset(CocoDataset):
    """mmdet's ``CocoDataset`` with the classes that its annotation file lists, in that order.

    For worlds of scenes and other people's files; mmdet's own silently finds nothing where the file's names are not
    those of COCO.

    Args:
        num_classes: how many there should be. Raises ValueError if there are not. The tools set it, and that of the
            heads, by the file.
    """

    def __init__(self, *args, num_classes: int, **kwargs) -> None:
        self.num_classes = num_classes
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        with get_local_path(self.ann_file, backend_args=self.backend_args) as path:
            annotations = self.COCOAPI(path)
        names = tuple(category['name'] for category in annotations.dataset['categories'])
        if len(names) != self.num_classes:
            raise ValueError(
                f'{self.ann_file} has {len(names)} classes ({", ".join(names[:4])}, ...), but the config is for '
                f'num_classes={self.num_classes}, which stands in the data sets and in the heads'
            )
        self._metainfo.update(classes=names, palette=None)
        self.COCOAPI = lambda path: annotations  # the parent's asks for it next; a gigabyte is parsed once
        try:
            return super().load_data_list()
        finally:
            del self.COCOAPI
