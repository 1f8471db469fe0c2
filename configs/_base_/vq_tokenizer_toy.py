"""The tokenizer of the toy world: 256 codes for patches of 6 px. Trained and used by two configs of configs/beit."""

tokenizer = dict(type='VQTokenizer', num_codes=256, strides=(3, 2), width=48, depth=1, code_dims=8)
