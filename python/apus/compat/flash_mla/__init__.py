"""FlashMLA's interface over Apus.

```python
from apus.compat.flash_mla import get_mla_metadata, flash_mla_with_kvcache
```

| module here | module there |
| --- | --- |
| `apus.compat.flash_mla`, `.flash_mla_interface` | `flash_mla`, `flash_mla.flash_mla_interface` |
| `.cuda` | `flash_mla_cuda` (first release), `flash_mla.cuda` |

Lists (lengths, block tables, indices) are read on the host, so on a GPU a call costs a copy of
them, and they must be host tensors while a graph is captured.
"""

from .flash_mla_interface import *  # noqa: F403
from .flash_mla_interface import __all__  # noqa: F401

# The release whose interface this is.
__version__ = "1.0.0+apus"
