"""Bodies: poses taken before masking, the heads they show, and the cues that are kept."""
