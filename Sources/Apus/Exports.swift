// `import Apus` is all that a user of the operators needs: the contract, the element types, and the
// choices of the CPU back end.
@_exported public import ApusCPU
@_exported public import ApusCore
@_exported public import ApusNumerics
