"""FlashAttention's interface over Apus, forward only.

```python
from apus.compat.flash_attn import flash_attn_func          # FlashAttention 2
from apus.compat.flash_attn.hopper import flash_attn_func   # FlashAttention 3
```

| module here | module there |
| --- | --- |
| `apus.compat.flash_attn` | `flash_attn` |
| `.flash_attn_interface`, `.bert_padding`, `.layers.rotary`, `.ops.triton.rotary` | the same |
| `.hopper` | `flash_attn_interface` |

Training is out of scope: inputs that require gradients, and dropout, raise NotImplementedError.
Integer lists (cumulative lengths, block tables) are read on the host, so on a GPU a call costs a
copy of them, and they must be host tensors while a graph is captured.
"""

from .flash_attn_interface import *  # noqa: F403
from .flash_attn_interface import __all__  # noqa: F401

# The release whose interface this is.
__version__ = "2.8.4+apus"
