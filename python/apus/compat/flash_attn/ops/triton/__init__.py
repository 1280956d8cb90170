"""The place where FlashAttention keeps its rotary kernel."""
