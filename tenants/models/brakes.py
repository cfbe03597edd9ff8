"""How often somebody has tried something lately."""

from django.db import models


class Brake(models.Model):
    """One count: a kind of try by one subject (an address, an e-mail, a shop).

    paid_until: the moment until which the tries made so far are paid for. It says all of a bucket that
    empties evenly: every try moves it on, time catches up with it, and a row of the past means nothing.
    """

    key = models.CharField(max_length=64, primary_key=True)
    paid_until = models.DateTimeField(db_index=True)
