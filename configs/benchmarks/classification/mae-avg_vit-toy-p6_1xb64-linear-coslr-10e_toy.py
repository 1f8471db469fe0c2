"""MAE's linear probe at toy size on the mean of the patches.

MAE trains no [CLS] token, and so small a one says little.
"""

_base_ = './mae_vit-toy-p6_1xb64-linear-coslr-10e_toy.py'

model = dict(feature=dict(_delete_=True, avg=1))
