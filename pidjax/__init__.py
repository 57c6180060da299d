"""pidjax: how two modalities inform a target, exactly, with certificates and error bars."""
