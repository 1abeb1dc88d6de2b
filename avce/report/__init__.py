"""Pages and pictures of runs: what a paper shows of them."""

KINDS = ("training", "plane", "maps", "tsne", "video")  # of pictures
