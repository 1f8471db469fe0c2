from .attention import evaluate_attention, format_attention_table
from .evaluate import evaluate_checkpoint, format_table
from .features import extract_features
from .model import load_config, load_model

__all__ = [
    'evaluate_attention',
    'evaluate_checkpoint',
    'extract_features',
    'format_attention_table',
    'format_table',
    'load_config',
    'load_model',
]
