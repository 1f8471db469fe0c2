from .algorithms import *
from .backbones import *
from .losses import *
from .maskings import *
from .necks import *
from .saliency import *
from .targets import *
