from .convert import Conversion, convert
from .export import TARGETS, Export, export, save
from .families import FAMILIES

__all__ = ['FAMILIES', 'TARGETS', 'Conversion', 'Export', 'convert', 'export', 'save']
