"""Run by ctest in a built extension: the module imports inside Slicer and passes its self-test."""

import unittest

import slicer


class InSlicer(unittest.TestCase):
    """The packaged module inside Slicer."""

    def test_module(self) -> None:
        """The module is registered with its files, and its self-test passes."""
        from PETSuperRes import PETSuperResTest

        self.assertIn("PETSuperRes", slicer.util.moduleNames())
        PETSuperResTest().runTest()


if __name__ == "__main__":
    unittest.main()
