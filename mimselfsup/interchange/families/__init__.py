"""The kinds of file that are told apart, by their keys; the first that recognises one has it."""

from . import bare, beit, mae, maskfeat, mimselfsup, mmpretrain, mocov3, self_distillation, semanticmim, simmim

FAMILIES = {
    family.name: family
    for family in (
        self_distillation.ATTMASK,
        self_distillation.IBOT,
        self_distillation.DINO,
        mocov3.FAMILY,
        simmim.FAMILY,
        mae.FAMILY,
        maskfeat.FAMILY,
        semanticmim.FAMILY,
        mimselfsup.FAMILY,
        mmpretrain.FAMILY,
        bare.TRANSFORMERS,
        bare.TORCHVISION,
        beit.FAMILY,
        bare.TIMM,
    )
}
