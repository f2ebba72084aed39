"""Faces and burnt-in text: found, tracked, and covered in every frame."""
