from .attention import evaluate_attention, format_attention_table
from .catalogue import ModelEntry, list_models
from .evaluate import evaluate_checkpoint, format_table
from .extractor import FeatureExtractor
from .features import extract_features
from .load import load
from .model import load_config, load_model

__all__ = [
    'FeatureExtractor',
    'ModelEntry',
    'evaluate_attention',
    'evaluate_checkpoint',
    'extract_features',
    'format_attention_table',
    'format_table',
    'list_models',
    'load',
    'load_config',
    'load_model',
]
