from .attention_distance import attention_distance, attention_distances
from .attention_maps import attention_maps
from .clustering import cluster_agreement
from .features import Features, collect_features, encode_features, raw_pixel_features
from .knn import clip_ks, knn_accuracy, knn_classify, knn_scores, nearest_neighbours
from .linear import LinearProbe, fit_logistic, linear_probe

__all__ = [
    'Features',
    'LinearProbe',
    'attention_distance',
    'attention_distances',
    'attention_maps',
    'clip_ks',
    'cluster_agreement',
    'collect_features',
    'encode_features',
    'fit_logistic',
    'knn_accuracy',
    'knn_classify',
    'knn_scores',
    'linear_probe',
    'nearest_neighbours',
    'raw_pixel_features',
]
