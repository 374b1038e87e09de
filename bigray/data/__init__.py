"""Where rows come from: sources and their readers, splits, augmentation, generated data, named data sets."""
