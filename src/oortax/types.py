"""The shape vocabulary: names for the arrays that physics functions take and return.

Batch axes are added outside, always leading. Orders: x = (x, y, z), v = (v_x, v_y, v_z),
J = (J_r, J_z, J_phi), theta and Omega as J.
"""

from jaxtyping import Array, Float

Scalar = Float[Array, ""]
Vec3 = Float[Array, "3"]
Actions = Float[Array, "3"]
Angles = Float[Array, "3"]
Frequencies = Float[Array, "3"]
