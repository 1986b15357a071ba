"""Stand-ins for other trackers: change one import line, and a script reports here.

`grandstand.compat.tensorboard` has a `SummaryWriter`, `grandstand.compat.wandb` the calls most
scripts make of wandb. What a stand-in cannot do it says once, and then leaves out.
"""
