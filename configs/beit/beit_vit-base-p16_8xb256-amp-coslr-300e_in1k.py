"""BEiT, ViT-B/16, ImageNet-1k, 300 epochs. Published: 82.9 fine-tuned (the paper's ablation), 83.1 (mmpretrain).

It needs DALL-E's tokenizer in data/tokenizers/dalle_encoder.pth; README.md says where it comes from.

tools/dist_train.sh configs/beit/beit_vit-base-p16_8xb256-amp-coslr-300e_in1k.py 8 --data DIR
"""

_base_ = './beit_vit-base-p16_8xb256-amp-coslr-800e_in1k.py'
from mimselfsup.engine.schedules import adamw_cosine

_, param_scheduler, train_cfg = adamw_cosine(
    epochs=300, warmup_epochs=10, base_lr=1.5e-3, batch_size=2048, lr_unit=2048, min_lr=1e-5
)
