"""Forms of the hosts' pages. What may be is the services' to say; here text becomes values."""

from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from runtime.units import GIB, MIB
from tenants.pool.models import Host
from tenants.pool.registration import MachineResources


class LabelsField(forms.CharField):
    """One `key=value` a line."""

    widget = forms.Textarea(attrs={"class": "input mono", "rows": 4, "spellcheck": "false"})

    def clean(self, value: Any) -> dict[str, str]:
        """Return the labels; lines without `=` are named."""
        found: dict[str, str] = {}
        for line in str(value or "").splitlines():
            key, separator, text = line.strip().partition("=")
            if not line.strip():
                continue
            if not separator:
                raise forms.ValidationError(
                    _("“%(line)s” must be key=value.") % {"line": line.strip()[:60]}
                )
            found[key.strip()] = text.strip()
        return found


def _number(**attrs: Any) -> forms.NumberInput:
    return forms.NumberInput(attrs={"class": "input number", "min": 0, **attrs})


class HostForm(forms.Form):
    """What operators say of a host."""

    zone = forms.CharField(
        max_length=32,
        label=gettext_lazy("Zone"),
        help_text=gettext_lazy("Hosts that fail together share a zone."),
        widget=forms.TextInput(attrs={"class": "input"}),
    )
    engine = forms.ChoiceField(
        choices=[("crun", "crun")],
        label=gettext_lazy("Engine"),
        widget=forms.Select(attrs={"class": "input"}),
    )
    labels = LabelsField(
        required=False,
        label=gettext_lazy("Labels"),
        help_text=gettext_lazy("One key=value a line, for example rack=b4."),
    )
    reserve_cores = forms.DecimalField(
        min_value=0,
        max_digits=8,
        decimal_places=3,
        label=gettext_lazy("Processor cores kept back"),
        widget=_number(step="0.05"),
    )
    reserve_memory_mib = forms.IntegerField(
        min_value=0, label=gettext_lazy("Memory kept back, MiB"), widget=_number()
    )
    reserve_disk_gib = forms.DecimalField(
        min_value=0,
        max_digits=12,
        decimal_places=3,
        label=gettext_lazy("Storage kept back, GiB"),
        widget=_number(step="0.1"),
    )

    @staticmethod
    def of(host: Host) -> dict[str, Any]:
        """Return the form's values for a host."""
        return {
            "zone": host.zone,
            "engine": host.engine,
            "labels": "\n".join(f"{key}={value}" for key, value in host.labels.items()),
            "reserve_cores": f"{host.reserve_cpu_millis / 1000:g}",
            "reserve_memory_mib": host.reserve_memory_bytes // MIB,
            "reserve_disk_gib": f"{host.reserve_disk_bytes / GIB:.3f}",
        }

    def changes(self) -> dict[str, Any]:
        """Return the checked form as the service takes it; amounts nobody touched stay exact."""
        sent = self.cleaned_data
        wanted: dict[str, Any] = {name: sent[name] for name in ("zone", "engine", "labels")}
        if {"reserve_cores", "reserve_memory_mib", "reserve_disk_gib"} & set(self.changed_data):
            wanted["reserve"] = MachineResources(
                cpu_millis=int(sent["reserve_cores"] * 1000),
                memory_bytes=sent["reserve_memory_mib"] * MIB,
                disk_bytes=int(sent["reserve_disk_gib"] * GIB),
            )
        return wanted


class JoinTokenForm(forms.Form):
    """A join token to be made."""

    zone = forms.CharField(
        max_length=32,
        initial="default",
        label=gettext_lazy("Zone"),
        widget=forms.TextInput(attrs={"class": "input"}),
    )
    labels = LabelsField(
        required=False,
        label=gettext_lazy("Labels"),
        help_text=gettext_lazy("One key=value a line, for example rack=b4."),
    )
    hours = forms.ChoiceField(
        choices=[
            ("1", gettext_lazy("1 hour")),
            ("24", gettext_lazy("24 hours")),
            ("168", gettext_lazy("7 days")),
        ],
        initial="24",
        label=gettext_lazy("Works for"),
        widget=forms.Select(attrs={"class": "input"}),
    )
