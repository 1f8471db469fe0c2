import numpy as np
import pytest
import torch
from PIL import Image

from mimselfsup.apis import FeatureExtractor, extract_features, load, load_config, load_model
from mimselfsup.datasets.transforms.loading import read_image
from mimselfsup.evaluation.data import build_eval_datasets, build_eval_loader
from tests.test_evaluation.labelled import write_labelled, write_labelled_config
from tests.test_interchange.foreign import HEADS, images, vit


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    """A run of the tiny config: its model, its checkpoint as a run writes it, and a labelled folder."""
    folder = tmp_path_factory.mktemp('project')
    root = write_labelled(folder / 'data')
    config = load_config(write_labelled_config(folder / 'tiny.py', root))
    model = load_model(config, seed=0)
    checkpoint = folder / 'epoch_3.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict(cfg=config.pretty_text, epoch=3, iter=9)), checkpoint)
    return dict(root=root, config=config, model=model, checkpoint=checkpoint)


@pytest.mark.parametrize('feature', ['cls', 'avg'])
def test_a_checkpoint_alone_gives_what_config_and_checkpoint_give(project, feature):
    """Heads, image size and statistics of the pixels come from the file: those of the tiny config are unusual."""
    dataset = build_eval_datasets(project['config'], project['root'])[1]
    expected = extract_features(project['model'], build_eval_loader(dataset, 4, 0), feature, progress=False)
    extractor = FeatureExtractor(project['checkpoint'], feature, batch_size=4, workers=0)
    found = extractor.of_folder(project['root'] / 'val')
    torch.testing.assert_close(found.features, expected.features, rtol=0, atol=1e-6)
    assert found.paths == expected.paths and found.labels.tolist() == expected.labels.tolist()


def test_arrays_files_and_folders_agree(project):
    extractor = FeatureExtractor(project['checkpoint'], batch_size=2, workers=0)
    folder = extractor.of_folder(project['root'] / 'val')
    files = extractor.of_files(folder.paths[::-1])
    assert files.paths == folder.paths[::-1] and files.labels is None
    torch.testing.assert_close(files.features.flip(0), folder.features, rtol=0, atol=1e-6)
    arrays = [read_image(path, 'rgb') for path in folder.paths]
    torch.testing.assert_close(extractor(arrays), folder.features, rtol=0, atol=1e-6)
    torch.testing.assert_close(extractor(arrays[3]), folder.features[3:4], rtol=0, atol=1e-6)
    torch.testing.assert_close(extractor(np.stack(arrays[:3])), folder.features[:3], rtol=0, atol=1e-6)


def test_pictures_of_other_sizes_are_shrunk_and_cut_from_the_middle(project):
    """Short side to 256/224 of the image size, bicubic, then the middle."""
    extractor = FeatureExtractor(project['checkpoint'], workers=0)
    side = project['config'].model.backbone.img_size
    short = round(side * 256 / 224)
    picture = np.random.default_rng(0).integers(0, 255, (5 * short, 10 * short, 3), dtype=np.uint8)
    small = np.array(Image.fromarray(picture).resize((2 * short, short), Image.Resampling.BICUBIC))
    top, left = round((short - side) / 2), round((2 * short - side) / 2)
    inputs = torch.from_numpy(small[top : top + side, left : left + side]).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = project['model'].backbone.encode((inputs.float() - 127.5) / 64).extra[:, 0]
    torch.testing.assert_close(extractor(picture), expected, rtol=0, atol=1e-5)


def test_a_network_of_timm_needs_nothing_but_its_weights(tmp_path):
    network = vit()
    torch.save(network.state_dict(), tmp_path / 'timm.pth')
    extractor = FeatureExtractor(tmp_path / 'timm.pth', num_heads=HEADS, mean=(0, 0, 0), std=(255, 255, 255))
    picture = np.random.default_rng(0).integers(0, 255, (37, 37, 3), dtype=np.uint8)  # 37 = round(32 * 256 / 224)
    inputs = torch.from_numpy(picture[2:34, 2:34]).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        expected = network.forward_features(inputs)[:, 0]
    torch.testing.assert_close(extractor(picture), expected, rtol=0, atol=1e-4)


def test_mean_of_patches_goes_through_the_norm_of_the_mean(tmp_path):
    network = vit(global_pool='avg')
    torch.save(network.state_dict(), tmp_path / 'tuned.pth')
    extractor = FeatureExtractor(tmp_path / 'tuned.pth', 'avg', num_heads=HEADS, mean=(0, 0, 0), std=(1, 1, 1))
    picture = np.random.default_rng(0).integers(0, 255, (37, 37, 3), dtype=np.uint8)
    inputs = torch.from_numpy(picture[2:34, 2:34]).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        expected = network.forward_head(network.forward_features(inputs), pre_logits=True)
    torch.testing.assert_close(extractor(picture), expected, rtol=0, atol=1e-3)


def test_a_backbone_from_load_is_taken_as_it_is(tmp_path, project):
    backbone = load(project['checkpoint'])
    assert not backbone.training
    pixels = dict(mean=(127.5,) * 3, std=(64,) * 3)
    picture = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    found = FeatureExtractor(backbone, **pixels)(picture)
    torch.testing.assert_close(found, FeatureExtractor(project['checkpoint'])(picture))
    with pytest.raises(ValueError, match='num_heads are for checkpoints'):
        FeatureExtractor(backbone, num_heads=3)


def test_load_gives_tokens(tmp_path):
    network = vit()
    torch.save(network.state_dict(), tmp_path / 'timm.pth')
    backbone = load(tmp_path / 'timm.pth', num_heads=HEADS)
    with torch.no_grad():
        tokens, expected = backbone.encode(images()), network.forward_features(images())
    torch.testing.assert_close(tokens.extra[:, 0], expected[:, 0], rtol=0, atol=1e-4)
    assert tokens.grid == (4, 4)


def test_mistakes_are_named(tmp_path, project):
    extractor = FeatureExtractor(project['checkpoint'], workers=0)
    for wrong in (np.zeros((8, 8, 3)), [np.zeros((8, 8), np.uint8)]):
        with pytest.raises(ValueError, match=r'picture 0 is .* must be uint8 \(H, W, 3\)'):
            extractor(wrong)
    with pytest.raises(ValueError, match='no pictures'):
        extractor([])
    with pytest.raises(ValueError, match='no files'):
        extractor.of_files([])
    with pytest.raises(ValueError, match='no such file'):
        extractor.of_files([tmp_path / 'absent.png'])
    with pytest.raises(ValueError, match="feature='mean', must be cls or avg"):
        FeatureExtractor(project['checkpoint'], 'mean')
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match='device cuda: not available here'):
            FeatureExtractor(project['checkpoint'], device='cuda')
