// `import Apus` is all that a user of the operators needs.
@_exported public import ApusCore
@_exported public import ApusNumerics
