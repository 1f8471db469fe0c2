from .attention import evaluate_attention, format_attention_table
from .attention_distance import evaluate_attention_distance
from .card import CardModel, make_card
from .catalogue import ModelEntry, list_models
from .copy_detection import evaluate_copy_detection
from .evaluate import evaluate_checkpoint, format_table
from .extractor import FeatureExtractor
from .features import extract_features
from .load import load
from .model import load_config, load_model
from .retrieval import evaluate_retrieval
from .video_segmentation import evaluate_video_segmentation

__all__ = [
    'CardModel',
    'FeatureExtractor',
    'ModelEntry',
    'evaluate_attention',
    'evaluate_attention_distance',
    'evaluate_checkpoint',
    'evaluate_copy_detection',
    'evaluate_retrieval',
    'evaluate_video_segmentation',
    'extract_features',
    'format_attention_table',
    'format_table',
    'list_models',
    'load',
    'load_config',
    'load_model',
    'make_card',
]
