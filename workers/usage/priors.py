"""What an instance that nobody has measured yet is expected to use: what others of its app and plan do."""

import numpy as np

from tenants.catalogue.models import App, Plan
from tenants.usage import profiles
from workers.leases.periodic import once
from workers.scheduler.demand_vector import flat
from workers.scheduler.profiles.usage_profile import PROFILE, demands, prior, unpack
from workers.usage import rightsizing

# Fewer tell nothing about the next one; more would tell no more.
LEAST_INSTANCES = 5
MOST_INSTANCES = 400


@once("learn_priors")
def learn_priors() -> str:
    """Work out the prior of every app and plan of which enough instances were measured for a day."""
    learnt = 0
    for plan in Plan.objects.all():
        ceilings = rightsizing.limits_of(plan)
        for app in App.objects.all():
            packed = profiles.mature_of(app.pk, plan.pk, most=MOST_INSTANCES)
            known = [profile for profile in packed if len(profile) == PROFILE.itemsize]
            if len(known) < LEAST_INSTANCES:
                continue
            cold = np.tile(flat(*ceilings), (len(known), 1))
            limits = np.tile(np.array(ceilings, np.float32), (len(known), 1))
            expected = prior(demands(unpack(b"".join(known)), cold, limits))
            profiles.store_prior(
                app.pk, plan.pk, rightsizing.booking_of(expected), instances=len(known)
            )
            learnt += 1
    return f"{learnt} kinds of instances learnt" if learnt else ""
