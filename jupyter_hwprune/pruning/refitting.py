"""Have the layers of a cut model make up for the channels that are gone, and prove the result like the cut."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from ..core.copying import copied
from .channels import Channels, Surgery
from .equivalence import Fault, Reference
from .graph.trace import tensors_of_model
from .method import Tell


def refitted(channels: Channels, surgery: Surgery, progress: Tell = lambda _layer: None) -> Surgery:
    """Solve the layers that lost inputs anew, where the channels know how, and say for which that was done.

    With its new weights the smaller model has to equal the masked dense one with these too, or it stays as it was.
    """
    if channels.reconstruction is None:
        return surgery
    model = copied(surgery.model)
    said = channels.reconstruction.refit(model, surgery.keep, progress)
    weights = _in_dense_shapes(channels.ready, model, surgery.keep)
    outcome = Reference(channels.plain, channels.coupled, channels.example, weights).first_equal([model], surgery.units)
    if isinstance(outcome, Fault):
        said = f"The remaining weights were not refitted, since that could not be verified: {outcome.said}."
        model = surgery.model
    return replace(surgery, model=model, remarks=(*surgery.remarks, said))


def _in_dense_shapes(dense: nn.Module, small: nn.Module, keep: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the dense model's tensors with the smaller one's values, and zeros where they are gone, in float32."""
    own = tensors_of_model(small)
    found = {}
    for name, tensor in tensors_of_model(dense).items():
        value = own.get(name, tensor).detach()
        value = value.float() if value.is_floating_point() else value
        found[name] = value if name not in keep else value.new_zeros(tensor.shape).masked_scatter(keep[name], value)
    return found
