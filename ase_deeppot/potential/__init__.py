"""The model: from the vectors to an atom's neighbours to its energy."""
