from .attention_distance import attention_distance, attention_distances
from .attention_maps import attention_maps
from .clustering import cluster_agreement
from .copy_detection import Whitening, cls_and_gem, copy_map
from .features import Features, collect_features, encode_features, raw_pixel_features
from .fewshot import few_shot_knn
from .knn import clip_ks, knn_accuracy, knn_classify, knn_scores, nearest_neighbours
from .label_propagation import Propagation, propagate_labels
from .linear import LinearProbe, fit_logistic, linear_probe, logistic_regression
from .linear_scan import linear_scan
from .retrieval import average_precision, rank_images, revisited_tasks, score_rankings

__all__ = [
    'Features',
    'LinearProbe',
    'Propagation',
    'Whitening',
    'attention_distance',
    'attention_distances',
    'attention_maps',
    'average_precision',
    'clip_ks',
    'cls_and_gem',
    'cluster_agreement',
    'collect_features',
    'copy_map',
    'encode_features',
    'few_shot_knn',
    'fit_logistic',
    'knn_accuracy',
    'knn_classify',
    'knn_scores',
    'linear_probe',
    'linear_scan',
    'logistic_regression',
    'nearest_neighbours',
    'propagate_labels',
    'rank_images',
    'raw_pixel_features',
    'revisited_tasks',
    'score_rankings',
]
