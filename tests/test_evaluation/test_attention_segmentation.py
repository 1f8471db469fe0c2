import pytest
import torch

from mimselfsup.evaluation.attention_segmentation import attention_jaccard, jaccard, keep_mass


def test_the_fewest_patches_with_the_mass_are_kept():
    attention = torch.tensor([[0.1, 0.5, 0.15, 0.25], [0.7, 0.1, 0.1, 0.1]])
    assert keep_mass(attention, 0.6).tolist() == [[False, True, False, True], [True, False, False, False]]
    assert keep_mass(attention, 0.45)[0].tolist() == [False, True, False, False]
    assert torch.equal(keep_mass(attention, 0.6), keep_mass(7 * attention, 0.6))


def test_kept_mass_exceeds_what_was_asked_for_and_no_patch_too_many_is_kept():
    attention = torch.rand(50, 30) ** 3
    kept = keep_mass(attention, 0.6)
    share = attention / attention.sum(1, keepdim=True)
    mass = (share * kept).sum(1)
    smallest = share.masked_fill(~kept, 2).amin(1)
    assert (mass >= 0.6 - 1e-6).all() and (mass - smallest <= 0.6 + 1e-6).all()


def test_jaccard_of_hand_made_masks():
    a = torch.tensor([[[1, 1, 0]], [[0, 0, 0]], [[0, 0, 0]]]).bool()
    b = torch.tensor([[[0, 1, 1]], [[0, 0, 0]], [[1, 0, 0]]]).bool()
    assert jaccard(a, b).tolist() == pytest.approx([1 / 3, 1.0, 0.0])


def test_scores_of_heads_and_of_their_mean():
    truth = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    truth[0, 0, :2, :2] = True  # the first of 2 x 2 patches
    heads = torch.tensor([[[0.97, 0.01, 0.01, 0.01], [0.01, 0.01, 0.01, 0.97]]])
    found = attention_jaccard(lambda images: (heads, (2, 2)), [(torch.zeros(1, 3, 4, 4), truth)])
    # The mean map needs both of its peaks for 60%.
    expected = dict(best_head=100, mean_head=50, mean_map=50, everything=25, images=1, objects=1)
    assert found == pytest.approx(expected)


def test_each_object_has_its_own_best_head_and_images_count_alike():
    """Of the first image each object is found by another head; the second has one object that no head finds whole."""
    heads = torch.tensor([[0.97, 0.01, 0.01, 0.01], [0.01, 0.01, 0.01, 0.97]]).expand(3, -1, -1)
    two, one, none = (torch.zeros(count, 4, 4, dtype=torch.bool) for count in (2, 1, 0))
    two[0, :2, :2], two[1, 2:, 2:], one[0, :2] = True, True, True
    found = attention_jaccard(lambda images: (heads, (2, 2)), [(torch.zeros(3, 3, 4, 4), [two, one, none])])
    assert found['best_head'] == pytest.approx(100 * (1 + 1 / 2) / 2)
    assert found['mean_head'] == pytest.approx(100 * (1 / 2 + 1 / 4) / 2)
    assert found['mean_map'] == pytest.approx(100 * (1 / 2 + 1 / 3) / 2)  # both corners: 4 of 8 pixels, 4 of 12
    assert found['everything'] == pytest.approx(100 * (1 / 4 + 1 / 2) / 2)
    assert (found['images'], found['objects']) == (2, 3)


def test_images_count_alike_whatever_the_batches():
    generator = torch.Generator().manual_seed(0)
    images, truth = torch.rand(7, 3, 8, 8, generator=generator), torch.rand(7, 2, 8, 8, generator=generator) > 0.5

    def attend(images):
        return images.mean(1).view(len(images), 1, 64) ** 4, (8, 8)

    whole = attention_jaccard(attend, [(images, truth)])
    parts = attention_jaccard(attend, [(images[:5], truth[:5]), (images[5:], truth[5:])])
    assert whole == pytest.approx(parts)


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r'mass=1.0, must lie in \(0, 1\)'):
        keep_mass(torch.rand(2, 3), 1.0)
    with pytest.raises(ValueError, match='there is no image with an object'):
        attention_jaccard(lambda images: None, [])
