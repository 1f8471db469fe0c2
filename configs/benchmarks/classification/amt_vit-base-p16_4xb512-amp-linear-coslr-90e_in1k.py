"""AMT's linear probe, on 4 GPUs: MAE's. Published after 400 epochs: MAE 56.6, AM 61.5, AMT 61.7.

tools/dist_train.sh configs/benchmarks/classification/amt_vit-base-p16_4xb512-amp-linear-coslr-90e_in1k.py 4 \
    --data IMAGENET --pretrained CKPT
"""

_base_ = './mae_vit-base-p16_32xb512-amp-linear-coslr-90e_in1k.py'

optim_wrapper = dict(accumulative_counts=8)
