"""Planning past this machine: what a run would need, before anything is started."""
