from apus_shims import alias

alias(__name__, "apus.compat.flash_attn.hopper")
