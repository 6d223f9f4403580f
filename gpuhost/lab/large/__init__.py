"""Files of the lab's large images."""
