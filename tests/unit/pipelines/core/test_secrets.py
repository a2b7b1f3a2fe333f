"""No password is printed or stored."""

from pipelines.core.secrets import mask_password


def test_the_password_is_taken_out_of_an_address() -> None:
    assert mask_password("postgresql://ann:secret@host:5432/models") == "postgresql://ann@host:5432/models"
    assert mask_password("https://token@host/x") == "https://token@host/x"
    assert mask_password("sqlite:////data/mlflow.db") == "sqlite:////data/mlflow.db"
