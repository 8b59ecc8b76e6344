"""Frozen records of tensors: a subclass is a keyword-only frozen dataclass whose tensors move together."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, dataclass_transform

import torch
from torch import Tensor

Self = TypeVar("Self", bound="TensorClass")


@dataclass_transform(frozen_default=True, kw_only_default=True)
class TensorClass:
    """Base of value types. Fields are tensors, other TensorClasses, or plain values that every row shares."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, kw_only=True, eq=False)(cls)

    def map(self: Self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same record with ``change`` applied to every tensor in it."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        changed = {
            name: change(value)
            if isinstance(value, Tensor)
            else value.map(change)
            if isinstance(value, TensorClass)
            else value
            for name, value in fields.items()
        }
        return type(self)(**changed)

    def to(self: Self, target: torch.device | torch.dtype | str) -> Self:
        """The record on another device or in another float type; integer tensors keep their type."""
        if isinstance(target, torch.dtype):
            return self.map(lambda tensor: tensor.to(target) if tensor.is_floating_point() else tensor)
        return self.map(lambda tensor: tensor.to(target))

    def rows(self: Self, index: Any) -> Self:
        """The record whose every tensor is indexed by ``index`` along its first axis."""
        return self.map(lambda tensor: tensor[index])

    def replace(self: Self, **changes: Any) -> Self:
        """The record with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    @classmethod
    def stack(cls: type[Self], records: Sequence[Self]) -> Self:
        """Records of equal shape with a new leading axis; plain values are taken from the first."""
        first = records[0]
        joined: dict[str, Any] = {}
        for field in dataclasses.fields(first):  # type: ignore[arg-type]
            values = [getattr(record, field.name) for record in records]
            if isinstance(values[0], Tensor):
                joined[field.name] = torch.stack(values)
            elif isinstance(values[0], TensorClass):
                joined[field.name] = type(values[0]).stack(values)
            else:
                joined[field.name] = values[0]
        return cls(**joined)
