"""MST's ablation: nothing is masked, views are still restored. Published: 73.1 linear on the last [CLS]."""

_base_ = './mst_vit-small-p16_16xb64-amp-coslr-100e_in1k.py'

model = dict(masking=dict(_delete_=True, type='RandomMasking', mask_ratio=0.0), saliency=None)
