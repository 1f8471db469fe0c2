import pytest
import torch
import torch.nn.functional as F

from mimselfsup.registry import MODELS

CFG = dict(
    type='VectorQuantizedAutoencoder',
    tokenizer=dict(type='VQTokenizer', num_codes=32, strides=(2, 2), width=16, code_dims=4),
    commitment=0.25,
)


def build(**changes):
    torch.manual_seed(0)
    model = MODELS.build(CFG | changes)
    model.init_weights()
    return model


def blobs(count):
    colours = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 255
    return F.interpolate(colours, 16, mode='bilinear')


def test_loss_and_gradients_by_hand():
    """The encoder's gradient is the decoder's with respect to the codes, copied, plus that of the commitment."""
    model = build().double().eval()
    images = blobs(2).double()
    losses = model(images, mode='loss')
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    tokenizer = model.tokenizer
    name = 'encoder.0.weight'
    got = dict(tokenizer.named_parameters())[name].grad.clone()
    model.zero_grad()

    queries = tokenizer.encode(images)
    codes = torch.cdist(queries.flatten(0, 2), tokenizer.codebook.vectors).argmin(1).view(2, 4, 4)
    vectors = tokenizer.codebook.vectors[codes].clone().requires_grad_()
    decoded = tokenizer.decoder(vectors.permute(0, 3, 1, 2))
    error = ((decoded + 1 - images / 127.5) ** 2).mean()
    distance = (queries - vectors.detach()).pow(2).sum(-1).mean()
    torch.testing.assert_close(losses['loss_reconstruction'], error)
    torch.testing.assert_close(losses['loss_commitment'], 0.25 * distance)
    assert losses['code_perplexity'] <= len(codes.unique()) + 1e-4
    (copied,) = torch.autograd.grad(error, vectors)
    (0.25 * distance + (queries * copied).sum()).backward()
    torch.testing.assert_close(got, dict(tokenizer.named_parameters())[name].grad)


def test_only_training_moves_the_codes():
    model = build().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(blobs(4), mode='loss')
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.train()(blobs(4), mode='loss')
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {'tokenizer.codebook.vectors', 'tokenizer.codebook.usage'}


def test_learns_codes_that_say_what_is_in_the_picture():
    """After a few steps pictures decoded from 5 bits a patch have most of the variance, and the codes are in use."""
    model = build(tokenizer=dict(type='VQTokenizer', num_codes=32, strides=(4,), width=32, code_dims=4))
    images = blobs(16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(80):
        losses = model.loss(images)
        optimizer.zero_grad()
        (losses['loss_reconstruction'] + losses['loss_commitment']).backward()
        optimizer.step()
    model.eval()
    codes = model(images)[0]
    error = (model.tokenizer.decode(codes) - images).square().mean()
    assert error < 0.25 * images.var(unbiased=False)
    assert losses['code_perplexity'] > 20


def test_normalised_images_are_refused():
    with pytest.raises(ValueError, match='data_preprocessor normalises, but a tokenizer reads pixels'):
        build(data_preprocessor=dict(type='mmpretrain.SelfSupDataPreprocessor', mean=[1], std=[2]))
