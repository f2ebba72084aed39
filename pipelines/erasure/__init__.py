"""A withdrawal of consent: who is erased, what is done for it, and who is kept out from then on."""
