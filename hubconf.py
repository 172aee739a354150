"""The published networks for torch.hub: ``torch.hub.load(<this repository>, "resnest50", pretrained=True)``.

``torch.hub.list`` lists them, ``torch.hub.help`` says what each is. Arguments are those of
`designspace.models.create_model`.
"""

from designspace import models as _models

dependencies = ["torch", "numpy", "safetensors"]

globals().update({_name: getattr(_models, _name) for _name in _models.list_models()})
