import pytest
import torch

from acoustic_kit.nn.matmul_precision import full_float32_matmul


@pytest.mark.parametrize("before", ["highest", "high"])
def test_what_was_allowed_is_forbidden_inside_and_allowed_again(before: str) -> None:
    kept = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(before)
    x = torch.rand(8, 8)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            with full_float32_matmul(x.device):
                assert torch.get_float32_matmul_precision() == "highest"
                assert not torch.backends.cudnn.allow_tf32
                assert (x @ x).dtype == torch.float32
            assert (x @ x).dtype == torch.bfloat16
        with pytest.raises(ZeroDivisionError), full_float32_matmul(x.device):
            _ = 1 / 0
        assert torch.get_float32_matmul_precision() == before
    finally:
        torch.set_float32_matmul_precision(kept)


@pytest.mark.gpu
def test_a_gpus_products_have_all_their_digits() -> None:
    torch.manual_seed(0)
    x = torch.rand(512, 512, dtype=torch.float64)
    kept = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with full_float32_matmul(torch.device("cuda")):
            ours = x.float().cuda() @ x.float().cuda()
    finally:
        torch.set_float32_matmul_precision(kept)
    torch.testing.assert_close(ours.cpu().double(), x @ x, rtol=1e-5, atol=0)
