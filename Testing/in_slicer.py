"""Run by ctest in a built extension: the module imports inside Slicer and passes its self-test."""

import unittest
from importlib.util import find_spec

import slicer


class InSlicer(unittest.TestCase):
    """The packaged module inside Slicer."""

    def test_module_is_there(self) -> None:
        """The module is registered, and its files can be imported."""
        from PETSuperRes import PETSuperResLogic

        self.assertIn("PETSuperRes", slicer.util.moduleNames())
        self.assertTrue(callable(PETSuperResLogic().process))

    @unittest.skipIf(find_spec("torch") is None, "PyTorch is missing: install it by the PyTorch extension")
    def test_self_test(self) -> None:
        """A phantom goes the whole way, without the panel and in it."""
        from PETSuperRes import PETSuperResTest

        PETSuperResTest().runTest()


if __name__ == "__main__":
    unittest.main()
