"""Where --data goes in configs of mmdet and mmseg, and what is said when it is not what they expect."""

import json
import shutil

import pytest
from mmengine.config import Config
from PIL import Image

from mimselfsup.datasets.scenes import write_scenes
from mimselfsup.engine.data_roots import check_data, set_data_root


@pytest.fixture(scope='module')
def original(tmp_path_factory):
    out = tmp_path_factory.mktemp('roots') / 'world'
    layouts = ('coco', 'lvis', 'ade20k', 'cityscapes', 'voc')
    write_scenes(out, 4, 3, size=32, classes=3, workers=1, quiet=True, layouts=layouts)
    return out


@pytest.fixture
def world(original, tmp_path):
    return shutil.copytree(original, tmp_path / 'world')


def config(scope, train, val, **sections):
    def loader(dataset):
        return dict(dataset=dataset, sampler=dict(type='DefaultSampler'), batch_size=1)

    return Config(dict(default_scope=scope, train_dataloader=loader(train), val_dataloader=loader(val), **sections))


def coco(root='data/coco/', names=('train', 'val'), kind='CocoDataset', prefix='instances', folders=('', '')):
    sets = [
        dict(
            type=kind,
            data_root=root,
            ann_file=f'annotations/{prefix}_{name}.json',
            data_prefix=dict(img=folder),
            pipeline=[],
        )
        for name, folder in zip(names, folders, strict=True)
    ]
    evaluator = dict(type='CocoMetric', ann_file=f'{root}annotations/{prefix}_{names[1]}.json')
    return config('mmdet', *sets, val_evaluator=evaluator)


def segmentation(kind, train, val, **more):
    def one(folders):
        images, labels, *names = folders
        lists = dict(ann_file=names[0]) if names else {}
        return dict(type=kind, data_root='data/x', data_prefix=dict(img_path=images, seg_map_path=labels)) | lists

    joined = dict(type='ConcatDataset', datasets=[one(train)])
    return config('mmseg', joined, one(val), **more)


ADE = ('ADE20KDataset', ('images/training', 'annotations/training'), ('images/validation', 'annotations/validation'))
CITIES = ('CityscapesDataset', ('leftImg8bit/train', 'gtFine/train'), ('leftImg8bit/val', 'gtFine/val'))
LISTS = 'ImageSets/Segmentation/'
VOC = (
    'PascalVOCDataset',
    ('JPEGImages', 'SegmentationClassAug', f'{LISTS}aug.txt'),
    ('JPEGImages', 'SegmentationClass', f'{LISTS}val.txt'),
)
LVIS = dict(kind='mimselfsup.LVISDataset', prefix='lvis_v1')


def refused(cfg):
    with pytest.raises(FileNotFoundError) as error:
        check_data(cfg)
    return str(error.value)


@pytest.mark.parametrize(
    ('cfg', 'below'),
    [
        (coco(), ''),
        (coco(**LVIS), ''),
        (segmentation(*ADE), 'ade20k'),
        (segmentation(*CITIES), 'cityscapes'),
        (segmentation(*VOC), 'voc'),
    ],
    ids=['coco', 'lvis', 'ade20k', 'cityscapes', 'voc'],
)
def test_the_toy_world_is_what_they_expect(world, cfg, below):
    assert refused(cfg).startswith('train_dataloader.dataset.data_root=data/')
    set_data_root(cfg, str(world / below))
    check_data(cfg)
    if 'val_evaluator' in cfg:
        assert cfg.val_evaluator.ann_file == f'{world}/annotations/{cfg.val_dataloader.dataset.ann_file[12:]}'


def test_a_wrong_root_shows_the_tree_of_coco(tmp_path):
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'notes.txt').write_text('')
    cfg = coco(names=('train2017', 'val2017'), folders=('train2017/', 'val2017/'))
    set_data_root(cfg, str(tmp_path))
    assert refused(cfg).split('\n') == [
        f'train_dataloader.dataset: {tmp_path} lacks annotations/instances_train2017.json, train2017/; it holds '
        f'elsewhere, notes.txt. Expected (CocoDataset):',
        f'  {tmp_path}/',
        '    annotations/',
        '      instances_train2017.json',
        '      instances_val2017.json',
        '    train2017/                          pictures',
        '    val2017/                            pictures',
        'COCO 2017: pictures and annotations as they are unpacked.',
    ]


def test_a_root_that_is_not_there_shows_the_tree_of_cityscapes(tmp_path):
    cfg = segmentation(*CITIES)
    set_data_root(cfg, str(tmp_path / 'none'))
    lines = refused(cfg).split('\n')
    assert lines[0].startswith(f'train_dataloader.dataset.data_root={tmp_path}/none does not exist; --data DIR sets it')
    assert lines[2:-1] == [
        '    leftImg8bit/',
        '      train/                            pictures',
        '      val/                              pictures',
        '    gtFine/',
        '      train/                            label maps, *_gtFine_labelTrainIds.png',
        '      val/                              label maps, *_gtFine_labelTrainIds.png',
    ]
    assert 'createTrainIdLabelImgs' in lines[-1]


def test_lvis_says_where_its_pictures_are(tmp_path):
    """Those of the real set; their folders stand nowhere in the config."""
    cfg = coco(**LVIS)
    set_data_root(cfg, str(tmp_path))
    assert 'train2017/ ' in refused(cfg) and 'val has pictures of train2017 too' in refused(cfg)
    (tmp_path / 'annotations').mkdir()
    for split in ('train', 'val'):
        image = dict(id=9, coco_url='http://images.cocodataset.org/val2017/000000397133.jpg')
        text = json.dumps(dict(info={}, annotations=[dict(x='y' * 3_000_000)], images=[image]))
        (tmp_path / 'annotations' / f'lvis_v1_{split}.json').write_text(text)
    assert 'lacks val2017/000000397133.jpg; it holds annotations.' in refused(cfg)
    (tmp_path / 'val2017').mkdir()
    (tmp_path / 'val2017' / '000000397133.jpg').write_text('')
    check_data(cfg)


@pytest.mark.parametrize(
    ('cfg', 'below', 'broken', 'lacks'),
    [
        (
            coco(),
            '',
            'annotations/instances_val.json',
            'val_dataloader.dataset: {0} lacks annotations/instances_val.json',
        ),
        (coco(folders=('train/', 'val/')), '', None, 'train_dataloader.dataset: {0} lacks train/train/'),
        (coco(), '', 'train', 'train_dataloader.dataset: {0} lacks train/'),
        (segmentation(*ADE), 'ade20k', 'annotations/training', 'lacks annotations/training/; it holds'),
        (segmentation(*ADE), 'ade20k', 'images/validation/*', 'images/validation/* (the folder is empty)'),
        (segmentation(*ADE), 'ade20k', 'annotations/validation/ADE_val*0.png', 'lacks annotations/validation/ADE_val_'),
        (segmentation(*CITIES), 'cityscapes', 'gtFine/train/*/*', '000019_gtFine_labelTrainIds.png'),
        (segmentation(*VOC), 'voc', f'{LISTS}aug.txt', f'lacks {LISTS}aug.txt'),
        (segmentation(*VOC), 'voc', 'SegmentationClassAug', 'lacks SegmentationClassAug/'),
        (segmentation(*VOC), 'voc', 'SegmentationClass/*_000000.png', 'lacks SegmentationClass/val_000000.png'),
    ],
)
def test_what_is_missing_is_named(world, cfg, below, broken, lacks):
    root = world / below
    for path in root.glob(broken) if broken else ():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    set_data_root(cfg, str(root))
    assert lacks.format(root) in refused(cfg)


def test_an_evaluator_without_its_annotations_is_named(world):
    cfg = coco()
    set_data_root(cfg, str(world))
    cfg.val_evaluator.ann_file = f'{world}/annotations/other.json'
    assert refused(
        cfg
    ) == f'val_evaluator.ann_file={world}/annotations/other.json does not exist; --data DIR sets it ' + (
        'with the data'
    )


def test_data_elsewhere_than_on_disks_is_not_looked_for():
    cfg = coco()
    for name in ('train_dataloader', 'val_dataloader'):
        cfg[name].dataset.data_root = 's3://bucket/coco/'
    cfg.val_evaluator.ann_file = 's3://bucket/coco/annotations/instances_val.json'
    check_data(cfg)


@pytest.mark.parametrize('ascii_only', [True, False])
def test_names_of_pictures_are_read_as_json_has_them(tmp_path, ascii_only):
    """Escaped, and with COCO's address before the name of the file."""
    name = 'img/straße "é".jpg'
    (tmp_path / 'annotations').mkdir()
    image = dict(coco_url='http://images.cocodataset.org/train2017/1.jpg', file_name=name, id=1)
    for split in ('train', 'val'):
        path = tmp_path / 'annotations' / f'instances_{split}.json'
        path.write_text(json.dumps(dict(images=[image]), ensure_ascii=ascii_only), encoding='utf-8')
    cfg = coco()
    cfg.pop('val_evaluator')
    set_data_root(cfg, str(tmp_path))
    assert f'lacks {name};' in refused(cfg)
    (tmp_path / 'img').mkdir()
    (tmp_path / name).write_text('')
    check_data(cfg)


def test_a_world_that_is_missing_can_be_made(tmp_path):
    expected = {'CocoFileDataset': '--layouts coco', 'LVISDataset': '--layouts lvis'}
    for kind, remedy in expected.items():
        cfg = coco(kind=f'mimselfsup.{kind}', prefix='lvis_v1')
        for name in ('train', 'val'):
            cfg[f'{name}_dataloader'].dataset.num_classes = 10
        set_data_root(cfg, str(tmp_path))
        message = refused(cfg)
        assert f'tools/make_scenes.py {remedy}' in message and 'COCO 2017' not in message and '2017/' not in message
    assert 'lacks annotations/lvis_v1_train.json, ./* (the folder is empty); it holds nothing' in message


@pytest.mark.parametrize(
    ('draw', 'message'),
    [
        (lambda: Image.new('RGB', (4, 4)), 'a picture of mode RGB, label maps have one channel'),
        (
            lambda: Image.new('L', (4, 4), 151),
            r'pixels of value 151; .* of 150 classes \(ADE20KDataset\) have 1 to 150',
        ),
        (lambda: Image.new('L', (4, 4), 150), None),
        (lambda: Image.new('L', (4, 4), 255), None),
    ],
)
def test_the_first_label_map_is_looked_into(world, draw, message):
    path = world / 'ade20k' / 'annotations' / 'training'
    draw().save(sorted(path.iterdir())[0])
    cfg = segmentation(*ADE)
    set_data_root(cfg, str(world / 'ade20k'))
    if message is None:
        return check_data(cfg)
    with pytest.raises(ValueError, match=message):
        check_data(cfg)


@pytest.mark.parametrize(('kind', 'own'), [('ADE20KDataset', True), ('BaseSegDataset', False)])
def test_data_set_and_pipeline_say_the_same_of_void(world, kind, own):
    cfg = segmentation(kind, *ADE[1:])
    set_data_root(cfg, str(world / 'ade20k'))
    dataset = cfg.val_dataloader.dataset
    for said in (None, own):
        dataset.pipeline = [dict(type='LoadAnnotations', reduce_zero_label=said), dict(type='PackSegInputs')]
        check_data(cfg)
    dataset.pipeline[0].reduce_zero_label = not own
    message = (
        f'val_dataloader.dataset: reduce_zero_label={own} of the data set .{kind}., but {not own} in LoadAnnotations'
    )
    with pytest.raises(ValueError, match=message):
        check_data(cfg)
    dataset.reduce_zero_label = not own
    check_data(cfg)
