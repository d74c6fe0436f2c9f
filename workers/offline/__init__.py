"""Whole experiments in a folder: samples, mock labels, reward models, PPO and a report, without database or broker.

The same decisions (`workers.loop`), plans and trainers as in the database loop; a journal of events stands in for the
tables.
"""
