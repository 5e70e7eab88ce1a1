use fqgan::eval::ssim;
use fqgan::image::{Picture, psnr};

fn photograph(name: &str) -> Picture {
    Picture::load(format!("{}/tests/golden/{name}_256.png", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// scikit-image 0.26: `structural_similarity(x / 255, y / 255, data_range=1 and 2, channel_axis=-1)`.
#[test]
fn as_scikit_image() {
    let (astronaut, chelsea, coffee) = (photograph("astronaut"), photograph("chelsea"), photograph("coffee"));
    let mut darker = coffee.clone();
    darker.pixels_mut().iter_mut().for_each(|v| *v = (u32::from(*v) * 9 / 10 + 7) as u8);
    let part = |p: &Picture| p.crop(3, 5, 37, 23).unwrap();
    let beside = |x| astronaut.crop(x, 0, 255, 256).unwrap();
    let cases = [
        (astronaut.clone(), chelsea, [0.1043825004184948, 0.23956807166454105]),
        (part(&coffee), part(&darker), [0.9908281578315213, 0.9925375685397095]),
        (coffee, darker, [0.9526206118386199, 0.9602710030268945]),
        (beside(0), beside(1), [0.8063685649633218, 0.8472473714972528]),
    ];
    for (a, b, wanted) in cases {
        for (range, wanted) in [1.0, 2.0].into_iter().zip(wanted) {
            let found = ssim(&a, &b, range).unwrap();
            assert!((found - wanted).abs() < 1e-9, "{found}, expected {wanted}");
            assert_eq!(ssim(&b, &a, range).unwrap(), found);
        }
        assert_eq!(ssim(&a, &a, 1.0).unwrap(), 1.0);
    }
}

/// scikit-image 0.26: `peak_signal_noise_ratio(x / 255, y / 255, data_range=1)`.
#[test]
fn psnr_as_scikit_image() {
    let (astronaut, chelsea, coffee) = (photograph("astronaut"), photograph("chelsea"), photograph("coffee"));
    let mut darker = coffee.clone();
    darker.pixels_mut().iter_mut().for_each(|v| *v = (u32::from(*v) * 9 / 10 + 7) as u8);
    for (a, b, wanted) in [(&astronaut, &chelsea, 9.604232004822066), (&coffee, &darker, 29.858486947665774)]
    {
        assert!((psnr(a, b) / wanted - 1.0).abs() < 1e-12, "{}, expected {wanted}", psnr(a, b));
    }
}

#[test]
fn refusals() {
    let picture = |width, height| Picture::new(width, height).unwrap();
    let said = |a: Picture, b: Picture, range| ssim(&a, &b, range).unwrap_err().message().to_string();
    assert!(said(picture(8, 9), picture(9, 8), 1.0).contains("8 x 9 pixels beside 9 x 8"));
    assert!(said(picture(6, 9), picture(6, 9), 1.0).contains("at least 7"));
    for range in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(said(picture(7, 7), picture(7, 7), range).contains("data range"));
    }
    assert_eq!(ssim(&picture(7, 7), &picture(7, 7), 2.0).unwrap(), 1.0);
}
