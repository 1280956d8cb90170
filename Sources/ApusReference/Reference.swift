/// The definition of every operator, in float64 and plain loops.
///
/// Each function follows its formula one operation at a time, without tiling, splitting or
/// approximation, so that reading it answers what the operator means. Inputs are host tensors and
/// are widened exactly. Back ends are compared with it (Documentation/Numerics.md); none shares
/// code with it.
public enum Reference {}
