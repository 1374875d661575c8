"""Generated bodies: shapes, organs, lesions, torsos, and uptake painted into real CTs."""
