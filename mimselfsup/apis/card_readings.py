"""How the numbers of each protocol are to be read, for people who meet them on a model card."""

READINGS: dict[str, str] = {
    'knn': 'Whether pictures of one class lie close together in the features as they are; nothing is trained. Higher '
    'is better. Which k does best depends on the number of pictures per class, so compare models at the same k.',
    'fewshot': 'The same with only a few labelled pictures of each class, as a person would label them. Higher is '
    'better; the spread is that of the pictures chosen, and differences below it say nothing.',
    'linear': 'Whether a linear classifier can read the class off the frozen features, fitted to convergence. Higher '
    'is better. It ignores directions that carry nothing, which k-NN cannot, so that features made for '
    'reconstruction look better here.',
    'logreg': 'A linear classifier on normalised features, by strength of regularisation: small ones fit '
    'the training pictures closely, large ones hardly learn. Higher is better; nothing was chosen by the result.',
    'linear-scan': 'The linear probe as papers train it, by SGD, at many learning rates at once; a row says which one '
    'was chosen, and by what. Higher is better. A learning rate at the edge of the scan is a lower bound.',
    'clustering': 'Whether classes are there without any label: clusters are found first and compared with the classes '
    'afterwards. 100 is perfect agreement; ARI is 0 for clusters at random, the others are not.',
    'masked': 'How much of the accuracy is left when patches are blacked out, the most attended first or any. A model '
    'that reads the object falls quickly in the first case and slowly in the second; one for which both curves fall '
    'alike attends to nothing in particular.',
    'backgrounds': 'Accuracy where objects keep, lose or exchange their backgrounds. Near the original is good where '
    'the object stays; accuracy on backgrounds alone is accuracy that the object did not earn. A small BG-Gap '
    'means that the model does not lean on the background, if the accuracy itself is well above chance.',
    'retrieval': 'Whether other pictures of the same thing come first, among many that look alike. Mean average '
    'precision, higher is better; Hard leaves out the easy positives. Small sets have a high chance level: see below '
    'the table.',
    'copy-detection': 'Whether distorted copies find their original. Mean average precision, higher is better. Raw '
    'pixels do well on mild compression and fail on crops, features should do the opposite.',
    'video-segmentation': 'Whether patch features follow an object from frame to frame, without training: J is the '
    'overlap of regions, F that of outlines, J&F their mean. Higher is better. Resolution is that of the patches, so '
    'compare models of the same patch size.',
    'attention': 'How well the most attended patches cover the objects. Higher is better; the best head is chosen by '
    'the truth, hence an upper bound. Beside it stands what the whole picture, taken for the object, would reach: '
    'below that, attention does not find objects.',
    'attention-distance': 'How far, in pixels, the heads of each block look. Neither far nor near is better: rising '
    'with depth is usual for contrastive and distilled models, near throughout for those that reconstruct. Even '
    'attention is that of a head that looks everywhere alike.',
}
