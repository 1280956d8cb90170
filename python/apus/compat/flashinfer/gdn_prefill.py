"""flashinfer.gdn_prefill: names that import and raise NotImplementedError in use."""

from ._unavailable import lookup_of

__getattr__ = lookup_of(__name__, "gdn_prefill")
